"""Metrics and health over HTTP, in a process of their own: `process.run` serves `app.application` on the admin address."""
