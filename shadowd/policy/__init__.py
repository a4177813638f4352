from shadowd.policy.policy import Policy, loop_value

__all__ = ["Policy", "loop_value"]
