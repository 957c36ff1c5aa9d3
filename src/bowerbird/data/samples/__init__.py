"""Training sets: requests and what was taken, negatives, sequences, splits; and an audit for leaks.

log = actions(user, item, at, {"store": store})
split = last_windows(int(log.at.max()), "28d")
requests = trips(log, *split.test)
history = sequences(log, requests.user, requests.at, cap=4193)
"""
