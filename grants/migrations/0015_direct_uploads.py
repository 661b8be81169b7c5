"""Uploads that go directly to the store."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("grants", "0014_uploads")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="completed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="upload",
            name="found_sha256",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.AddField(
            model_name="upload",
            name="multipart_id",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="upload",
            name="part_size_bytes",
            field=models.PositiveBigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="upload",
            name="refused_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(
                    ("completed_at__isnull", False),
                    ("placed_sha256", ""),
                    ("refused_at__isnull", True),
                ),
                fields=["id"],
                name="runner_upload_verifying",
            ),
        ),
    ]
