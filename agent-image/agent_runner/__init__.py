"""Everything that runs inside the pod of an agent step: the runner and the gateway.

Standard library, and aiohttp for the gateway; never Airflow.
"""

__version__ = "0.1.0"
