"""The page of a map: what its HTML holds, and what it does in headless Chromium."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from w2v.map_page import page
from w2v.vectors import WordVectors
from w2v.wordmap import make_map

NASTY = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "<img/src=x/onerror=alert(2)>",
    "\"quoted'",
    "&lt;b&gt;",
    "$$x^2$$",
    "${1+1}",
    "\\u003c",
    "@word{safe}",
    "__proto__",
    "é中🙂",
]
WORDS = [*NASTY, *(f"word{i}" for i in range(300)), "Chip", "chips", "chip"]
NUM_MAPPED, K = len(WORDS) - 50, 6


@pytest.fixture(scope="module")
def vectors():
    rows = np.random.default_rng(0).normal(size=(len(WORDS), 12)).astype(np.float32)
    counts = [1000 if word in {*NASTY, "Chip", "chips", "chip"} else 9 for word in WORDS]
    return WordVectors(WORDS, rows, counts=counts)


@pytest.fixture(scope="module")
def text(vectors):
    return page(
        make_map(vectors, name="<b>mine</b>", top=NUM_MAPPED, k=K, method="pca"),
    )


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


def test_no_word_becomes_a_tag(text):
    parser = Tags()
    parser.feed(text)
    assert parser.tags.count("script") == 4  # two of Bokeh's, the data, ours
    assert not {"img", "b"} & set(parser.tags)
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    assert f"<title>{html.escape('<b>mine</b>: the 264 commonest words')}</title>" in text


def test_nothing_is_to_be_fetched(text):
    parser = Tags()
    parser.feed(text)
    assert not [pair for pair in parser.attributes if pair[0] in ("src", "href", "action")]
    assert "default-src 'none'" in text


def test_the_data_are_the_map(text, vectors):
    found = re.search(r'<script type="application/json" id="map">(.*?)</script>', text, re.DOTALL)
    assert NASTY[0] not in found[1]
    item = json.loads(found[1])

    def sources(node):
        if isinstance(node, dict):
            if node.get("name") == "ColumnDataSource":
                yield node["attributes"]
            for child in node.values():
                yield from sources(child)
        elif isinstance(node, list):
            for child in node:
                yield from sources(child)

    (words,) = (source for source in sources(item) if source.get("name") == "words")
    columns = dict(words["data"]["entries"])
    assert set(NASTY) < set(columns["word"])
    near = [[word for word, _ in vectors.similar(word, k=K)] for word in columns["word"]]
    assert columns["near"] == near


def test_vectors_without_counts_have_a_page_too():
    words = WordVectors(["a", "b", "c"], np.eye(3))
    found = page(make_map(words, name="mine", top=3, k=1, method="pca"))
    assert '"count"' not in found


# in Chromium

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1200,800",
    "--force-device-scale-factor=1",
)  # fmt: skip
LOGS = {"browser": "ALL", "performance": "ALL"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium or no chromedriver (Debian: chromium, chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", LOGS)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        browser = selenium.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()  # Chromium and its driver


@pytest.fixture
def opened(browser, text, tmp_path):
    """The page in Chromium, which has drawn it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    path = tmp_path / "map.html"
    path.write_text(text, encoding="utf-8")
    browser.get("about:blank")
    for log in LOGS:
        browser.get_log(log)  # what came before is forgotten
    browser.get(path.as_uri())

    def model(name, what):
        script = f"return Bokeh.documents[0].get_model_by_name({name!r}).{what}"
        return browser.execute_script(script)

    def until(done):
        return WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: done())

    def labeled():
        try:
            return len(model("labels", "data.word"))
        except Exception:  # not there yet
            return 0

    until(labeled)

    def search(typed):
        field = browser.find_element(By.ID, "search")
        field.clear()
        field.send_keys(typed)

    def listed():
        items = browser.find_elements(By.CSS_SELECTOR, "#neighbors li")
        return [tuple(item.text.rsplit(" ", 1)) for item in items]

    return SimpleNamespace(
        browser=browser,
        model=model,
        until=until,
        search=search,
        enter=lambda: browser.find_element(By.ID, "search").send_keys(Keys.ENTER),
        listed=listed,
        answer=lambda: browser.find_element(By.ID, "answer").text,
        selected=lambda: [model("words", "data.word")[i] for i in selected_rows(model)],
        frame=lambda: browser.find_element(By.ID, "plot"),
    )


def selected_rows(model):
    return model("words", "selected.indices")


def expected(vectors, word):
    return [(near, f"{cosine:.2f}") for near, cosine in vectors.similar(word, k=K)]


def colors(opened):
    """How many colors the plot's pixels have, and how many pixels are not the commonest one."""
    picture = matplotlib.image.imread(BytesIO(opened.frame().screenshot_as_png))
    pixels = (picture[..., :3] * 255).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, counts = np.unique(pixels, return_counts=True)
    return set(found.tolist()), int(counts.sum() - counts.max())


@pytest.mark.slow
def test_it_draws(opened):
    found, drawn = colors(opened)
    assert len(found) > 50
    assert drawn > 5_000
    shown = opened.model("labels", "data.word")
    assert 20 < len(shown) <= NUM_MAPPED
    assert opened.browser.title == "<b>mine</b>: the 264 commonest words"


@pytest.mark.slow
def test_a_search_selects_a_word_and_lights_up_its_neighbors(opened, vectors):
    before, _ = colors(opened)
    opened.search("chip")
    opened.until(lambda: opened.selected() == ["chip"])
    assert opened.listed() == expected(vectors, "chip")
    assert opened.answer().startswith("chip, seen 1,000 times. Nearest by cosine")
    near = [word for word, _ in vectors.similar("chip", k=K)]
    mapped = set(opened.model("words", "data.word"))
    lit = opened.model("lit", "data.word")
    assert lit[-1] == "chip"
    assert lit[-2::-1] == [word for word in near if word in mapped]
    opened.until(lambda: opened.model("labels", "data.word")[0] == "chip")
    after, _ = colors(opened)
    assert 0xD55E00 in after - before  # the vermillion of the selected word


@pytest.mark.slow
def test_searches_that_are_not_exact(opened, vectors):
    opened.search("CHIPS")
    assert opened.selected() == []
    opened.enter()
    opened.until(lambda: opened.selected() == ["chips"])
    opened.search("nothing like it")
    opened.enter()
    opened.until(lambda: opened.answer() == "nothing like it is not on this map.")
    assert (opened.selected(), opened.listed()) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("word", [word for word in NASTY if word.isascii()])
def test_any_word_is_found_and_shown_as_text(opened, vectors, word):
    opened.search(word)
    opened.until(lambda: opened.selected() == [word])
    assert opened.listed() == expected(vectors, word)
    assert opened.answer().startswith(f"{word}, seen")


@pytest.mark.slow
def test_a_click_on_a_neighbor_selects_it(opened, vectors):
    from selenium.webdriver.common.by import By

    opened.search("chips")
    opened.until(lambda: opened.selected() == ["chips"])
    buttons = opened.browser.find_elements(By.CSS_SELECTOR, "#neighbors button:enabled")
    name = buttons[0].text
    buttons[0].click()
    opened.until(lambda: opened.selected() == [name])
    assert opened.listed() == expected(vectors, name)


@pytest.mark.slow
def test_pointing_clicking_and_zooming(opened, vectors):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    browser, frame = opened.browser, opened.frame()
    row = opened.model("words", "data.word").index("chip")
    plot = "Bokeh.documents[0].get_model_by_name('plot')"
    x, y = browser.execute_script(
        f"const view = Bokeh.index.roots[0], words = view.model.document"
        f".get_model_by_name('words'), {{x_scale, y_scale}} = view.frame; "
        f"const box = view.canvas.el.getBoundingClientRect(); "
        f"return [box.left + x_scale.compute(words.data.x[{row}]), "
        f"box.top + y_scale.compute(words.data.y[{row}])]"
    )
    box = frame.rect
    at = (round(x - box["x"] - box["width"] / 2), round(y - box["y"] - box["height"] / 2))
    ActionChains(browser).move_to_element_with_offset(frame, *at).click().perform()
    opened.until(opened.selected)
    (picked, *_) = opened.selected()
    assert opened.listed() == expected(vectors, picked)
    tooltip = (
        "const all = (root) => [...root.querySelectorAll('*')].flatMap((node) => "
        "node.shadowRoot ? [node, ...all(node.shadowRoot)] : [node]); "
        "return all(document).filter((node) => node.classList.contains('bk-Tooltip'))"
        ".map((node) => node.shadowRoot?.textContent ?? node.textContent).join()"
    )
    opened.until(lambda: "nearest" in browser.execute_script(tooltip))
    shown = browser.execute_script(tooltip)
    assert "1,000 times" in shown or "9 times" in shown
    assert vectors.similar(picked, k=1)[0][0] in shown
    wide = browser.execute_script(f"return {plot}.x_range.end - {plot}.x_range.start")
    origin = ScrollOrigin.from_element(frame, *at)
    ActionChains(browser).scroll_from_origin(origin, 0, -400).perform()
    narrow = f"return {plot}.x_range.end - {plot}.x_range.start"
    opened.until(lambda: browser.execute_script(narrow) < 0.8 * wide)


@pytest.mark.slow
def test_no_request_leaves_the_page_and_nothing_is_complained_of(opened):
    opened.search(NASTY[0])
    opened.until(opened.selected)
    requests, complaints = logs(opened.browser)
    assert requests[0].startswith("file://")
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in requests) == 1
    assert complaints == []


@pytest.mark.slow
def test_a_request_or_a_complaint_would_be_noticed(opened):
    opened.browser.execute_script("fetch('http://127.0.0.1:9/').catch(() => {})")
    opened.browser.execute_script("console.error('oh')")
    seen = []

    def noticed():
        seen.extend(logs(opened.browser)[1])
        return len(seen) >= 2

    opened.until(noticed)
    assert any("Content Security Policy" in message for message in seen)


def logs(browser):
    """The addresses that were asked for, and what the console has beyond notes."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    console = browser.get_log("browser")
    return asked, [entry["message"] for entry in console if entry["level"] not in ("INFO", "DEBUG")]
