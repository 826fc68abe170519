"""Learning the language of proteins, made runnable. Importing it is cheap and changes nothing."""

from dlfb.utils.context import use_edition

__version__ = "0.1.0"
__all__ = ["predict", "use_edition"]


def __getattr__(name: str):
    if name == "predict":
        from dlfb.prediction import predict

        return predict
    raise AttributeError(f"module 'dlfb' has no attribute {name!r}")
