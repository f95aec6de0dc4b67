"""The sections of the settings, one file each: names, defaults and meanings."""
