"""Which server has which group and version: APIService."""
