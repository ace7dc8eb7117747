"""The sweep file: what a person writes, read and checked; what may stand in it, and a first one written."""
