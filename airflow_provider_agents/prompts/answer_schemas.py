"""JSON schemas of what the agents answer, one a step."""

from __future__ import annotations

from typing import Any

PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "steps", "files", "risks", "choices", "run_tests"],
    "properties": {
        "summary": {"type": "string", "description": "The approach in one to three sentences."},
        "steps": {"type": "array", "items": {"type": "string"}, "description": "What to do, in order."},
        "files": {"type": "array", "items": {"type": "string"}, "description": "Files to change or add."},
        "risks": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What may go wrong or is unclear.",
        },
        "choices": {
            "type": "array",
            "description": "Decisions that are the owner's to take, at most six; mostly empty. Not what the "
            "code or the task settles.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["key", "question", "options"],
                "properties": {
                    "key": {"type": "string", "description": "Short name, lower case."},
                    "question": {"type": "string", "description": "One line."},
                    "options": {
                        "type": "array",
                        "description": "Two to six ways; the plan follows the recommended one.",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["key", "label", "recommended"],
                            "properties": {
                                "key": {"type": "string", "description": "Short name, lower case."},
                                "label": {"type": "string", "description": "One line."},
                                "recommended": {"type": "boolean", "description": "True for exactly one."},
                            },
                        },
                    },
                },
            },
        },
        "run_tests": {
            "type": "boolean",
            "description": "False only where no test could notice the change, e.g. of a comment.",
        },
    },
}

IMPLEMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "description"],
    "properties": {
        "title": {
            "type": "string",
            "description": "Title of the pull request, imperative, at most 72 characters.",
        },
        "description": {
            "type": "string",
            "description": "What changed, why, and how it was tested. Markdown.",
        },
    },
}

FIX_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "thread_replies"],
    "properties": {
        "summary": {"type": "string", "description": "What was changed in answer to what."},
        "thread_replies": {
            "type": "array",
            "description": "An answer to each review thread that has a label; empty where there is none.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["thread", "reply"],
                "properties": {
                    "thread": {"type": "string", "description": "Label of the thread: T1, T2 …"},
                    "reply": {
                        "type": "string",
                        "description": "One to three sentences to its author: what was done, or why not.",
                    },
                },
            },
        },
    },
}


REVIEW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["verdict", "summary", "findings"],
    "properties": {
        "verdict": {
            "type": "string",
            "enum": ["approve", "request_changes", "comment"],
            "description": "request_changes only where a finding has to be answered before the merge.",
        },
        "summary": {"type": "string", "description": "The judgement in one to four sentences. Markdown."},
        "findings": {
            "type": "array",
            "description": "What is wrong, the most important first; at most six. Empty where nothing is.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path", "line", "severity", "confidence", "title", "body"],
                "properties": {
                    "path": {"type": "string", "description": "File, from the root of the repository."},
                    "line": {
                        "type": ["integer", "null"],
                        "description": "Line in the new version of the file, one that the diff shows.",
                    },
                    "severity": {"type": "string", "enum": ["critical", "high", "medium", "low"]},
                    "confidence": {"type": "number", "description": "0 to 1: how sure you are."},
                    "title": {"type": "string", "description": "What is wrong, in one line."},
                    "body": {
                        "type": "string",
                        "description": "Why, when it shows, and what to do. Markdown.",
                    },
                },
            },
        },
    },
}
