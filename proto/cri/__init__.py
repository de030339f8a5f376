"""The Container Runtime Interface, version 1: how a kubelet tells a runtime to run containers."""
