"""A Kubernetes-compatible pod runtime for one machine: each container is a process of this machine.

``python -m airflow_provider_agents.local --help`` starts it; ``docs/local-runtime.md`` says what it serves
and, plainly, what it does not isolate. In tests, use
:class:`~airflow_provider_agents.local.runtime.LocalKubernetes` in the process itself.
"""
