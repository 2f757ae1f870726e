"""From capture files to a report, in one way for files of any length.

``analyse``            files → Report: where to begin reading
``options``            what an analysis is asked for
``reading``            files → decoded frames, chunk by chunk, and what files tell besides
                       (``notes``, ``vantage_identity``, ``frame_room``)
``packet_assembly``    chunks → batches of packets that are closed
``stream``             the engine: threads between the two, every batch to every *sink*
``capture_analysis``   the sinks of a report: its aggregators (``partials``)
``capture_tables``     what they have come to, as tables
``window``             ``--since`` and ``--until``; ``window_edges`` keeps them from making losses
``packet_choice``      ``--lost`` … ; ``packet_selection`` is the sink that lists packets
``kept_tables``        the sink that keeps everything, for `analyzer.read` (``library``)
"""
