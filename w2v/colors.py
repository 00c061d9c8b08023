"""The colors of pictures and pages.

Source: Okabe and Ito 2008, "Color Universal Design": colors that the color-blind tell apart. Their
yellow is left out: it is too pale for a line.
"""

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, BLACK = "#CC79A7", "#E69F00", "#56B4E9", "#000000"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GRAY, INK = "#7A7A7A", "#222222"
