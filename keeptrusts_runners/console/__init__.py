"""What the pages of all apps share: access, refusals, the visual language, and the sign-in.

A page extends `base.html` (blocks `title`, `crumbs`, `content`, `main_attributes`, `scripts`);
its title starts with the object and its state, and it has one `<h1>`. Values are drawn by the tags
of `templatetags/console.py`, parts by the includes of `templates/console/_*.html`, each of which
says what it takes. What has neither is plain markup:

Table, scrolling within its own named region; cells of class `fold` hide behind "more" on a phone:

    <div class="table" role="region" aria-labelledby="caption" tabindex="0">
      <table class="fold">
        <caption id="caption">…</caption>
        <tr id="row-…" data-version="…">
          <th scope="row">…</th> <td>…</td>
          <td class="fold number" data-label="Events">…</td>
          <td class="more"><details id="more-…"><summary>…</summary></details></td>

Ledger rows, with white space between the children, for they flow inline on a phone:

    <ol class="log">
      <li id="e48213"><a href="#e48213">48,213</a> {% instant at "ms" %} {% level "info" %}
        <span class="muted">kind</span> <p>message</p> <details>payload</details></li>

Fresh by itself: `<div id="…" data-refresh="/address or nothing" data-every="3">`, beside an include
of `_live.html`; the answer holds an element of the same id. Rows of another `data-version` flash.

Blocks: `head` (also `sticky`) with `actions`, `row`, `cards` of `card` with `figure`, `columns`,
`facts` (a `<dl>`), `chips`, `notice` (also with a tone), `stack` (forms); buttons are plain,
`primary`, `danger` (on confirmation pages) or `risky` (what leads to one).
"""
