"""Parts of other packages that they keep to themselves, or that we change from outside: one module per package.

Each part is a function with its upstream reason. It looks whether the part is still what it was written for, and says
so in one sentence if not; its test fails once upstream offers the same in public. Gradio's stand in
``space_config/server/gradio_patches.py``, uvicorn's in ``space_config/server/connections.py``, and the one call of
``spaces`` in ``space_config/space/zero_gpu.py``.
"""
