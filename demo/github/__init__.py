"""A stand-in for a GitHub Enterprise Server, on loopback: the pipeline with no account.

Start it with ``python -m demo.github --data DIR --ready-file FILE``, or from Python with
:class:`demo.github.server.StandInGitHub`.
"""
