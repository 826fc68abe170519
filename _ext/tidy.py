"""Takes out what the theme and its companions bring that this site has no use for."""


def without_thebe(app) -> None:
    """Have sphinx-thebe, which jupyter-book always loads, do nothing.

    It would run a page's code on somebody else's server, which no button here asks for, and it sets
    a script's constants twice on a page, an error in every browser.
    """
    for event, listeners in app.events.listeners.items():
        ours = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]
        app.events.listeners[event] = ours
    app.registry.css_files[:] = [one for one in app.registry.css_files if "thebe" not in one[0]]


def setup(app):
    without_thebe(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
