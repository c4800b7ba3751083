"""A cluster for the lab `kube`: namespaces as machines, real programs of Kubernetes in them, and what a card says as their input."""
