def total(prices):
    result = 0
    for price in prices:
        result += price * 2
    return result


print("total:", total([1, 2, 3]))
