"""What ``airflow agents doctor`` checks, one module for each area."""
