"""The rules by which mail is accepted or refused. Imports neither spool nor delivery nor receive."""
