"""What is known about boards, installed as ``edgecv.targets``."""
