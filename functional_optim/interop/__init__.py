"""Bridges to other libraries, each imported when its bridge is used."""
