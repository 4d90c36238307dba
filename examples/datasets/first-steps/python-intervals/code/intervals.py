"""Busy times of a calendar: pairs of a beginning and an end."""


def merge(intervals):
    """The same times in as few intervals as possible, in order."""
    merged = []
    for start, end in intervals:
        if end < start:
            raise ValueError(f"{start} to {end} ends before it begins")
        if merged and start < merged[-1][1] and start >= merged[-1][0]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def free(intervals, start, end):
    """What is left between start and end."""
    gaps = []
    for busy_start, busy_end in merge(intervals):
        if busy_start > start:
            gaps.append((start, min(busy_start, end)))
        start = max(start, busy_end)
        if start >= end:
            break
    if start < end:
        gaps.append((start, end))
    return gaps
