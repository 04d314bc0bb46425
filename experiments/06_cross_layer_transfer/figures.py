def plot(result):
    return {}
