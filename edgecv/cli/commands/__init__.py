"""The commands of ``edgecv``, one file each, named as the command is."""
