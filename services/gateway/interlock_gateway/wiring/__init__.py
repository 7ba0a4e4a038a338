"""The parts of an edge, put together; ``app.py`` calls these in this order and keeps the lifespan.

| module      | what is wired there                                                                     |
|-------------|-----------------------------------------------------------------------------------------|
| ground      | what every part stands on: settings, bus, clock, secrets                                |
| mirrors     | the buckets that an edge holds in memory: a new one is a field here                      |
| callers     | who may call: tokens, other credentials and their issuers, the lease, limits of rate     |
| upstreams   | the ways to upstreams, what users granted for them, tunnels, what upstreams tell         |
| endpoints   | MCP in each of its transports, and the sockets of tunnels                                |
| management  | the REST application                                                                    |
| revoking    | what ends when somebody is not let in any more: a new reason is a line here              |
| listening   | the guard before everything, and the HTTP server: TLS and peers of connections           |

Each hands on a frozen dataclass. Only these modules, ``app.py`` and ``__main__`` know the settings of the edge.
"""
