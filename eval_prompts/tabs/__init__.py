"""The tabs of the page and what scripts call: everything here that imports gradio, one file for each."""
