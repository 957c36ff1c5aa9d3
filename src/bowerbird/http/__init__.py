"""The one web application: identity at the door, and what the rooms mount behind it.

Who comes in: a workspace. Each room names `routes`: functions of the workspace that give a `Mount`
(a router, and its first page), or None where there is nothing to show. What leaves: one server on
one address, in which every request but those for health shows the workspace's token, what changes
something comes from a page of its own, and what goes wrong is a problem value (RFC 9457) without a
traceback::

    mount = Mount("the feed", "/", router)
    app = application([mount], authorise=lambda request: check(request, token))
    with listening("127.0.0.1", 8600) as listener:
        run(guarded(app, token), stop, listener)

`door` says who is let in, `app` puts it together, `server` runs it; `templates` is how every page
looks. Importing `app` loads FastAPI, so nothing is handed out here.
"""
