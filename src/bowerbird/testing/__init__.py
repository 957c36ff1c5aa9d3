"""What outsiders test their own parts with: the conformance suites of our ports.

Who comes in: somebody who wrote an engine (or another port). What leaves: a red or green test for
each sentence of the port's contract.

::

    class TestMyEngine(EngineConformance):
        opens = "acme.engines:open_my_engine"
        gaps = {"test_a_task_that_eats_memory_is_stopped": "notyet: the scheduler kills whole jobs"}
"""
