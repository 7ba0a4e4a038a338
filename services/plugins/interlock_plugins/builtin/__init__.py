"""The plugins that come with Interlock."""
