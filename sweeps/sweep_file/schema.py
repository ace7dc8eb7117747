"""The JSON Schema of a sweep file: what editors complete and check while it is written.

It follows from the models of `spec`; the grammar of the search space, which `search_spaces.loading`
reads, is added here. A schema cannot say everything: `sweeps check` has the last word.
"""

from typing import Any

from search_spaces import catalog
from sweeps.samplers.algorithms import PRUNERS, SAMPLERS
from sweeps.sweep_file.existing import CLI_KEYWORDS
from sweeps.sweep_file.spec import CLASSES, INTERNAL, SweepSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
KINDS = ("float", "int", "categorical", "choice")

DESCRIPTIONS = {
    "name": "Of the study, the MLflow experiment and the folder; the file's name if there is none.",
    "objective": "What is optimised.",
    "budget": "When the sweep ends.",
    "config": "A LightningCLI configuration that this file's keys are merged over.",
    "cli": "Your LightningCLI class, or the keywords that your script gives to LightningCLI.",
    "model": "LightningCLI's `model`.",
    "data": "LightningCLI's `data`.",
    "trainer": "LightningCLI's `trainer`: the arguments of the Trainer.",
    "optimizer": "LightningCLI's `optimizer`.",
    "lr_scheduler": "LightningCLI's `lr_scheduler`.",
    "seed_everything": "One seed for all trials; true gives each its own.",
    "search_space": "What varies: dotted paths into the configuration.",
    "include": "Ready-made parts of the search space: names of the catalogue, or paths of YAML files.",
    "constraints": "Expressions over parameters and paths that must be true.",
    "start_with": "Known good points, tried first.",
    "lr_finder": "Range tests that find learning rates, before the first trial or in each.",
    "sampler": "Who proposes: a name, or an Optuna sampler by its class.",
    "pruner": "Who ends bad trials early: a name, or an Optuna pruner by its class.",
    "resources": "What one trial takes.",
    "price_per_hour": "What the machine costs an hour for each trial that runs at once, in your currency.",
    "oom": "What happens to a trial that runs out of memory.",
    "keep_checkpoints": "Of how many of the best trials the checkpoints stay.",
    "warm_start": "Earlier sweeps of the same database whose trials teach the sampler.",
    "stop_when": "What ends the sweep before its budget is used.",
    "storage": "The study database, a URL; ${NAME} is taken from the environment.",
    "tracking_uri": "MLflow's database or server, a URL; ${NAME} is taken from the environment.",
    "files": "Where logs and checkpoints go.",
}


def schema() -> dict[str, Any]:
    """Returns the JSON Schema of a sweep file."""
    made = SweepSpec.model_json_schema()
    properties = {key: value for key, value in made["properties"].items() if key not in INTERNAL}
    properties |= _own(properties)
    for key, text in DESCRIPTIONS.items():
        properties[key] = {"description": text, **properties[key]}
    made["$defs"]["LrFinder"]["properties"]["multiplier"] |= _searched_number()
    return {
        "$schema": DIALECT,
        "title": "A sweep file of lightning-sweeps",
        "type": "object",
        "properties": properties,
        "required": ["objective", "budget"],
        "allOf": [
            {"anyOf": [{"required": ["search_space"]}, {"required": ["include"]}]},
            {"anyOf": [{"required": [key]} for key in ("model", "config", "cli")]},
            # Beside a command line of the user's, its own keys may stand.
            {"if": {"not": {"required": ["cli"]}}, "then": {"propertyNames": {"enum": list(properties)}}},
        ],
        "$defs": made["$defs"] | _grammar(),
    }


def _own(properties: dict[str, Any]) -> dict[str, Any]:
    """The keys that may be written in other ways than the models hold them."""
    component = {"$ref": "#/$defs/Component"}
    mapping, include = {"type": "object"}, {"$ref": "#/$defs/include"}
    return {
        **{key: {"anyOf": [{"type": "string"}, mapping, {"type": "null"}]} for key in CLASSES},
        "config": {"anyOf": [{"type": "string"}, mapping]},
        "trainer": {"anyOf": [{"type": "string", "pattern": r"\.(ya?ml|json)$"}, mapping]},
        "cli": {"anyOf": [{"type": "string"}, _cli()]},
        "search_space": {"$ref": "#/$defs/search_space"},
        "include": {"anyOf": [include, {"type": "array", "items": include}]},
        **{
            key: {"anyOf": [{"enum": list(names)}, component], "default": properties[key]["default"]}
            for key, names in (("sampler", SAMPLERS), ("pruner", PRUNERS))
        },
    }


def _searched_number() -> dict[str, Any]:
    """A number above 0 that is searched, but has no place in the configuration."""
    choices = {"type": "array", "minItems": 2, "items": {"type": "number", "exclusiveMinimum": 0}}
    return {"anyOf": [{"$ref": "#/$defs/parameter"}, choices, {"type": "null"}]}


def _cli() -> dict[str, Any]:
    known = ["class_path", *CLI_KEYWORDS, "model_class", "datamodule_class"]
    return {
        "type": "object",
        "minProperties": 1,
        "properties": {key: {} for key in known},
        "if": {"not": {"required": ["class_path"]}},
        "then": {"propertyNames": {"enum": known}},
    }


def _grammar() -> dict[str, Any]:
    """The definitions of the search space's grammar."""
    branch, parameter = {"$ref": "#/$defs/branch"}, {"$ref": "#/$defs/parameter"}
    has_kind = {"type": "object", "required": ["type"], "properties": {"type": {"enum": list(KINDS)}}}
    named_choices = {"type": "object", "minProperties": 1, "additionalProperties": branch}
    choices = {"type": "array", "minItems": 2}
    return {
        "search_space": {
            "type": "object",
            "additionalProperties": {
                "if": has_kind,
                "then": parameter,
                "else": {"anyOf": [choices, named_choices]},
            },
        },
        "parameter": {
            "oneOf": [
                _parameter("float", low="number", high="number", log="boolean", step="number"),
                _parameter("int", low="integer", high="integer", log="boolean", step="integer"),
                _parameter("categorical", choices=choices),
                _parameter("choice", choices=named_choices),
            ]
        },
        "branch": {
            "if": has_kind,
            "then": parameter,
            "else": {"additionalProperties": branch, "items": branch},
        },
        "include": {
            "anyOf": [
                {"enum": list(catalog())},
                {"type": "string", "pattern": r"/|\.ya?ml$"},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": {"type": ["string", "null"]},
                    },
                },
            ]
        },
    }


def _parameter(kind: str, **fields: str | dict[str, Any]) -> dict[str, Any]:
    """One kind of parameter; `low`, `high` and `choices` are needed."""
    written = {key: {"type": value} if isinstance(value, str) else value for key, value in fields.items()}
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, **written, "when": {"type": "object", "minProperties": 1}},
        "required": ["type", *(key for key in ("low", "high", "choices") if key in fields)],
        "additionalProperties": False,
    }
