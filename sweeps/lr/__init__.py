"""The learning-rate finder: a range test, and a rule that reads its curve.

range_test   in a worker: trains a fresh model with a rising rate, keeps the raw losses
curve        reads curves: a suggestion, an interval, how sure
narrow       what that means for a search space
finder       all together, before a sweep and for `sweeps lr-find`
"""
