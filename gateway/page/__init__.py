"""The web page: modules for browsers, and the routes of pages and probes. Nothing is loaded from elsewhere."""
