"""The learning-rate finder: a range test, and a rule that reads its curve.

range_test   in a worker: trains a fresh model with a rising rate, keeps the raw losses
curve        reads curves: a suggestion, an interval, how sure
narrow       what that means for a search space
finder       all together, before a sweep (`mode: range`)
command      the same for `sweeps lr-find`
each, in_trial    `mode: trial`, seen from the driver and in a worker
"""
