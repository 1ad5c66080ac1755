# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way between a cloud and files: fast, resumable and never wrong.

Contract: ``download.Downloader.fetch`` puts the data of one image under its final name only after
every byte was hashed and is durable. Knows HTTP and files; knows neither commands nor bundles.
Everything that a network, a cloud or a file system can do to it is raised as
``errors.TransferError`` or a class of it, ``errors.Forbidden``, ``errors.ResourceNotFound`` or
``errors.Cancelled``.
"""
