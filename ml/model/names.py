"""Name the default backbone and the kinds of weights; importing this needs no PyTorch."""

BACKBONE = "efficientnet_lite0"
PRETRAINED = "pretrained"
SCRATCH = "scratch"
