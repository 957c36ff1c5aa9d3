"""Where everything lives and how it is carried out: settings, database, ledger, releases, executor.

A person comes in with a project (`bowerbird.toml`, `specs/`); a plan goes out, then a run, then
rows in tables and releases that are live. The three who read on: `executor` (how a plan is carried
out), `ledger` (what is recorded), `workspace` (the whole, opened)::

    loaded = load_settings(find_project(Path.cwd()))
    shop = Workspace(loaded, Registry(ROOMS), open_engine)
    plan = shop.plan()          # pure: shows what would happen
    run = shop.apply(plan)      # resumable: kill it, and apply again
"""
