"""What a benchmark reports, as records: the JSON that ``edgecv bench --json`` writes.

Every number that could not be measured is null, and `missing` of the same record says why. Times
are milliseconds on a monotonic clock, sizes are bytes, energies are joules. The JSON Schema is
published in ``docs/bench.schema.json``.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

from typing import Annotated, Any, Literal

from edgecv.card import Sha256
from edgecv.record import Record, field
from edgecv.schema import Rule
from edgecv.types import Precision

SCHEMA: Literal["edgecv.bench/2"] = "edgecv.bench/2"
STAGES = ("decode", "preprocess", "infer", "postprocess", "total")

Count = Annotated[int, Rule(ge=0)]
Amount = Annotated[float, Rule(ge=0)]
Interval = tuple[float, float]
Scenario = Literal["single", "multistream", "server", "offline", "camera", "cold"]
Status = Literal["valid", "suspect", "invalid"]
Code = Literal[
    "too-few-samples",
    "drift",
    "processes-disagree",
    "busy-machine",
    "starved",
    "governor",
    "frequency",
    "temperature",
    "swap",
    "undervoltage",
    "throttled",
    "quota",
    "fallback",
    "precision",
    "precision-unknown",
    "leak",
    "overload",
    "dropped",
]


class Reason(Record, kw_only=True):
    """Why a result should not be taken at face value.

    Attributes:
        code: the kind of reason, for programs.
        status: what it makes of the result.
        message: what was seen, with numbers, and against which limit.
    """

    code: Code
    status: Literal["suspect", "invalid"]
    message: str


class Validity(Record, kw_only=True):
    """How far a result can be believed: as far as the worst of its reasons says."""

    status: Status
    reasons: tuple[Reason, ...] = ()


class Latency(Record, kw_only=True):
    """One stage, over all processes of a cell.

    Attributes:
        n: samples.
        mean: of them, milliseconds; so are the others.
        min: the shortest.
        max: the longest.
        p50: median.
        p90: null below the early-stopping floor of LoadGen; so are the others.
        p99: 99th percentile.
        p999: 99.9th percentile.
        ci95: 95 % interval of the median, bootstrapped over processes and their samples.
        outliers: samples beyond Tukey's outer fences (3 interquartile ranges); none is removed.
    """

    n: Count
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    ci95: Interval | None = None
    outliers: Count = 0


class Histogram(Record, kw_only=True):
    """A distribution: ``counts[i]`` samples lie in ``[edges_ms[i], edges_ms[i + 1])``."""

    edges_ms: tuple[float, ...] = ()
    counts: tuple[Count, ...] = ()


class ColdStart(Record, kw_only=True):
    """From the start of a process to its first result.

    Attributes:
        n: processes.
        p50: median, milliseconds.
        samples: each of them.
    """

    n: Count
    p50: float | None = None
    samples: tuple[float, ...] = ()


class Arrivals(Record, kw_only=True):
    """What came by a schedule, in ``server`` and ``camera``.

    Attributes:
        rate_hz: images a second that the schedule asked for, over all streams.
        scheduled: images that were due in the run.
        completed: of them, those with a result.
        dropped: of them, those replaced by a newer one before their turn.
        dropped_share: dropped / scheduled.
        age_ms: of a frame when its result was there, from the scheduled time on.
        overloaded: the queue grew for as long as images came.
    """

    rate_hz: Amount
    scheduled: Count
    completed: Count
    dropped: Count = 0
    dropped_share: float | None = None
    age_ms: Latency | None = None
    overloaded: bool = False


class Phase(Record, kw_only=True):
    """Memory of the process at the end of one phase, in bytes; see proc_pid_smaps(5).

    Attributes:
        rss: resident set.
        pss: resident set, shared pages divided among those who share them.
        uss: pages that only this process has.
    """

    rss: Count | None = None
    pss: Count | None = None
    uss: Count | None = None


class Memory(Record, kw_only=True):
    """Memory of the process, bytes.

    Attributes:
        peak_rss: highest resident set of the measured run, all processes; VmHWM.
        phases: ``import``, ``load``, ``first``, ``steady``, from a pass of its own.
        model_file: the variant's files.
        weights: of the network's constants, where the format tells.
        arena: what loading and the first inference added beyond the weights, USS.
        leak_per_minute: slope of the resident set over the steady run, bytes a minute.
        leak_ci95: its 95 % interval.
        missing: null field -> why.
    """

    peak_rss: Count | None = None
    phases: dict[str, Phase] = field(default_factory=dict)
    model_file: Count | None = None
    weights: Count | None = None
    arena: Count | None = None
    leak_per_minute: float | None = None
    leak_ci95: Interval | None = None
    missing: dict[str, str] = field(default_factory=dict)


class Work(Record, kw_only=True):
    """Tier 5: what an inference takes whatever the machine; ranks models, and is never joules.

    Attributes:
        macs: multiply-accumulates of convolutions and products of matrices, from the file's graph.
        bytes_moved: constants read once, tensors between operations written once and read once.
        instructions: counted, where an emulator does.
        missing: null field -> why.
    """

    macs: Count | None = None
    bytes_moved: Count | None = None
    instructions: Count | None = None
    missing: dict[str, str] = field(default_factory=dict)


class Energy(Record, kw_only=True):
    """Energy of an inference, from pixels or file to result.

    Attributes:
        tier: 1 meter, 2 counter, 3 calibrated model of this board, 4 board table; 5 means that
            only the work is known, and no joules.
        source: the meter, counter, calibration or table.
        gross_j: all energy of the run divided by its inferences.
        gross_ci95: its 95 % interval.
        marginal_j: the same beyond idling.
        marginal_ci95: its 95 % interval.
        idle_w: what idling draws, as used for `marginal_j`.
        load_w: mean power of the run.
        formula: how the figures follow, in words and symbols.
        scope: what draws it: ``board``, ``package`` (a CPU with its memory controller).
        work: tier 5, whatever the tier.
        missing: null field -> why.
    """

    tier: Literal[1, 2, 3, 4, 5]
    source: str
    gross_j: float | None = None
    gross_ci95: Interval | None = None
    marginal_j: float | None = None
    marginal_ci95: Interval | None = None
    idle_w: float | None = None
    load_w: float | None = None
    formula: str | None = None
    scope: Literal["board", "package"] | None = None
    work: Work = Work()
    missing: dict[str, str] = field(default_factory=dict)


class Moment(Record, kw_only=True):
    """The machine at one time of the run.

    Attributes:
        at_s: since the start of the cell.
        temperature_c: of the hottest zone.
        mhz: mean over the CPUs in use.
        busy_share: CPU time of all programs, as a part of all CPUs.
        watts: of the meter or counter, where there is one.
    """

    at_s: float
    temperature_c: float | None = None
    mhz: float | None = None
    busy_share: float | None = None
    watts: float | None = None


class Result(Record, kw_only=True):
    """One cell of the matrix.

    Attributes:
        scenario: how images arrive.
        variant: of the bundle, or the file's name.
        backend: the engine's plug-in.
        engine: its name and version.
        precision_asked: by the variant; null if nothing was asked.
        precision_actual: read back from the compiled model.
        threads: of one inference.
        streams: images that are worked on at the same time.
        processes: that the samples come from, one after the other.
        images: different ones, run in turn.
        duration_s: of all measured runs together.
        cold_start_ms: of these processes and of some more.
        plan: how the engine was used, where the scenario chose it.
        latency_ms: by stage; ``total`` counts from the scheduled time in server and camera.
        distribution_ms: of ``total``.
        process_p50_ms: median of ``total`` of each process.
        throughput: results a second.
        throughput_ci95: its 95 % interval.
        cpu_per_image_ms: CPU time of the process for a result, all threads.
        arrivals: in server and camera only.
        memory_bytes: of the process.
        energy: of a result.
        accuracy: metric -> value of this variant, from the bundle's card.
        timeline: the machine over the run.
        missing: null field -> why.
        validity: how far all this can be believed.
    """

    scenario: Scenario
    variant: str
    backend: str
    engine: str
    precision_asked: Precision | None = None
    precision_actual: Precision | None = None
    threads: Annotated[int, Rule(ge=1)]
    streams: Annotated[int, Rule(ge=1)] = 1
    processes: Annotated[int, Rule(ge=1)]
    images: Count
    duration_s: Amount
    cold_start_ms: ColdStart
    plan: str | None = None
    latency_ms: dict[str, Latency]
    distribution_ms: Histogram = Histogram()
    process_p50_ms: tuple[float, ...] = ()
    throughput: float | None = None
    throughput_ci95: Interval | None = None
    cpu_per_image_ms: float | None = None
    arrivals: Arrivals | None = None
    memory_bytes: Memory
    energy: Energy
    accuracy: dict[str, float] = field(default_factory=dict)
    timeline: tuple[Moment, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    validity: Validity

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What makes two results comparable: scenario, variant, backend, threads, streams."""
        return self.scenario, self.variant, self.backend, self.threads, self.streams


class Failure(Record, kw_only=True):
    """A cell that could not be measured."""

    cell: str
    error: str


class Subject(Record, kw_only=True):
    """What was measured.

    Attributes:
        name: the bundle's or the file's.
        sha256: over the bytes that ran; of a bundle's manifest, which holds those of its files.
        bytes: of the file or of the whole bundle.
    """

    name: str
    sha256: Sha256 | None = None
    bytes: Count | None = None


class Report(Record, kw_only=True):
    """Everything that one call of ``edgecv bench`` found.

    Attributes:
        schema: `SCHEMA`.
        created: UTC, ISO 8601.
        model: what was measured.
        settings: of the run, such as durations and number of processes.
        environment: what it was measured on; its ``missing`` says why something is null.
        results: one for each cell.
        failures: cells without a result.
    """

    schema: Literal["edgecv.bench/2"]
    created: str
    model: Subject
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any]
    results: tuple[Result, ...]
    failures: tuple[Failure, ...] = ()
