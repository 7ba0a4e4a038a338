"""REST endpoints as tools, and what an OpenAPI document makes of them."""
