"""Passes that are faulted beside the catalogue's own: written on the public interface, as a third party's would be."""
