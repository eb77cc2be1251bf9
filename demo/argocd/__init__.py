"""A stand-in for Argo CD: the calls of its REST interface that readings need, with applications that follow git."""
