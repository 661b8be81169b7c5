"""WHAT is running: runner sessions and their lifecycle. (App label: runner_sessions.)"""
