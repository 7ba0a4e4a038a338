"""What plugins refuses to start with.

    ConfigurationError
    ├── PluginFileRefused    the plugin file, an entry of it or a key of an entry breaks a rule
    └── PatternRefused       a regular expression is not one RE2 takes

What a plugin does at run time is never an error of the service: it is a verdict.
"""

from interlock_common.errors import ConfigurationError


class PluginFileRefused(ConfigurationError):
    code = "plugin_file_refused"


class PatternRefused(ConfigurationError):
    code = "pattern_refused"
