"""What the pages of all apps share: access, refusals, the visual language, and the sign-in."""
