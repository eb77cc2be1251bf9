"""The command line ``airflow agents``."""
