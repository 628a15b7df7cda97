"""Stand-ins for Ascend's programs: they take the documented command lines, and print, write and fail as documented.

They know nothing of onnxfuse: what it hands them is judged by rules that are written down a second time, here.
"""
