"""The reference runner: claims sessions of a Keeptrusts control plane and executes their harness.

It needs Python 3.11 and nothing else: this package imports the standard library and itself, so
the same modules run from a checkout, and as the single file that ``build.py`` makes of them.

What a harness is
    One file. Its revision says ``image_ref`` = ``file:NAME``, ``image_digest`` =
    ``sha256:<hex digest of the file>`` and ``entrypoint``, for example
    ``["python3", "{harness}"]``; ``{harness}`` stands for the file, ``{python}`` for the
    interpreter that runs the runner, and without an entrypoint the file itself is executed. The
    runner looks for NAME in ``--harness-dir``, copies it into the attempt's directory, verifies
    the digest of that copy and executes that copy: what was verified is what runs.

What a harness is given
    A process group of its own, a fresh working directory, and an environment of exactly these
    names, plus those that the operator passes on with ``--pass-env``, and with ``--egress``
    HTTP_PROXY, HTTPS_PROXY and NO_PROXY in capitals and small letters:

    ==============================  ===========================================================
    PATH, LANG                      as the runner has them
    HOME, TMPDIR                    directories of this attempt, removed after it
    KEEPTRUSTS_URL                  address of the control plane, without ``/v1``
    KEEPTRUSTS_SESSION_ID           the session, ``sess_…``
    KEEPTRUSTS_LEASE_EPOCH          the lease epoch of this attempt
    KEEPTRUSTS_SESSION_TOKEN_FILE   holds the session token; replaced at each heartbeat, so read
                                    it again for each request
    KEEPTRUSTS_INPUT_FILE           JSON: the session's input
    KEEPTRUSTS_CHECKPOINT_FILE      JSON: the data of the last checkpoint; the file exists only
                                    when there is one
    KEEPTRUSTS_OUTPUT_DIR           each file left here becomes an artifact when the harness has
                                    completed or failed
    KEEPTRUSTS_RESULT_FILE          may be written: ``{"result": {…}}``, or
                                    ``{"error": {"code": …, "message": …}, "retryable": false}``
    KEEPTRUSTS_CONTROL_FILE         JSON: ``{"desired_state": …}`` with ``running``, ``paused``,
                                    ``cancelled``, or ``stopping`` when the runner itself stops
    ==============================  ===========================================================

    Lines on stdout and stderr become ``log`` events. Everything else a harness says with the
    session token over HTTP. A harness in Python can ``import keeptrusts_harness``: the runner
    places that small module beside it. The module is part of the runner, not of the pinned
    harness; its digest is recorded in the ledger with the harness's own.

How a harness ends
    Exit status 0 completes the session; 75 says "stopped because I was asked to", any other
    status fails it, with the error of the result file if there is one. To stop a harness the
    runner writes the control file, sends SIGTERM to the process group, and after
    ``--stop-grace-seconds`` SIGKILL. When the lease is lost it sends SIGKILL at once and reports
    nothing. What has to outlive a stop belongs in a checkpoint or in an uploaded artifact.

The harness runs under the runner's own account. Where it must not read what that account can
read, the runner's client secret above all, give the runner a host or container of its own.
"""

VERSION = "0.1.0"
