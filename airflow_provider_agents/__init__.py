"""Airflow provider: AI coding agents in Kubernetes pods take a ticket to a merged pull request."""

__version__ = "0.1.0"
