"""The gateway of an agent pod: holds the credentials, proxies git and the model API, keeps the ledger."""
