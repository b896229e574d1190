"""List the names of the architectures without importing PyTorch."""

SLIM = "resnet18_slim"
LITE = "resnet20_lite"
TORCHVISION = (
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "resnet34",
    "resnet50",
    "convnext_tiny",
)
ARCHITECTURES = (*TORCHVISION, SLIM, LITE)
