"""The parent process: binds, forks, watches and reloads."""
