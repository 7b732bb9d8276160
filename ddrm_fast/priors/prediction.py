"""What a network predicts, and how x0 and eps follow from it."""

import math

PREDICTIONS = ("eps", "x0", "v")


def prediction_row(prediction: str, abar: float) -> tuple[float, float, float, float]:
    """(p_x, p_out, q_x, q_out): x0 = p_x x_t + p_out out, eps = q_x x_t + q_out out.

    A network predicts the noise ("eps"), the clean image ("x0"), or the velocity
    v = sqrt(abar) eps - sqrt(1 - abar) x0 ("v", Salimans and Ho 2022).
    """
    signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
    if prediction == "eps":
        if abar == 0:
            raise ValueError(
                "prediction: the noise says nothing of the image where abar is 0; expected x0 or v"
            )
        return 1 / signal, -noise / signal, 0.0, 1.0
    if prediction == "x0":
        return 0.0, 1.0, 1 / noise, -signal / noise
    if prediction == "v":
        return signal, -noise, noise, signal
    raise ValueError(f"prediction: expected one of {', '.join(PREDICTIONS)}, got {prediction!r}")
